"""What the documentation site adds to the pages of docs/: references, environments, tutorials, links to the code."""
