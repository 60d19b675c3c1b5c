"""Commands that look at models and results. Nothing here is imported before its command runs."""
