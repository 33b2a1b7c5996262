"""What a GPU node does in Azure: processes that really fine-tune and really answer."""
