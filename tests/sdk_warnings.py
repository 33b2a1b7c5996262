"""What the SDKs warn of and their callers cannot mend."""

from __future__ import annotations

# azure-ai-ml and azureml-mlflow warn at import and in use about things that their callers cannot
# mend; each filter names one of them.
SDK_WARNINGS = (
    # azure-ai-ml's schemas use marshmallow 3 in ways that marshmallow 4 drops; it pins 3.
    "ignore::marshmallow.warnings.RemovedInMarshmallow4Warning",
    "ignore::marshmallow.warnings.ChangedInMarshmallow4Warning",
    # azure-ai-ml downloads blobs by their properties, which azure-storage-blob no longer likes.
    "ignore:The use of a 'BlobProperties' instance:DeprecationWarning",
    "ignore:content_as_bytes is deprecated:DeprecationWarning",
)
