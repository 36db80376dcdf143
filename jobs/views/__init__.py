"""The browser's doors: each view reads the request, asks the modules below, and chooses a template."""
