"""Pages for people: run folders as one self-contained HTML page or as Markdown."""
