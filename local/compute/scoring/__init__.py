"""What runs inside a deployment: one model, answering in one of the documented shapes."""
