"""The words every other room speaks. Standard library and pydantic only."""
