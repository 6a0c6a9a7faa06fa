"""The contracts as outsiders read them: JSON Schema, an AsyncAPI document and a page, made from models and table."""
