"""An emulator of the Azure Machine Learning control plane, for the unmodified SDK."""
