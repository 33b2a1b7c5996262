"""How the small base model came to be: its synthetic chat, its tokenizer, its training.

Only `local.compute.make_base_model` uses this package; a fine-tuning job never does.
"""
