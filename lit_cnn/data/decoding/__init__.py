"""Image files: find them, open them safely, decode them, scan for unreadable ones, name one that crashes."""
