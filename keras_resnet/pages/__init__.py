"""Pages for people: text, tables, plots and pictures as one self-contained HTML file or as Markdown."""
