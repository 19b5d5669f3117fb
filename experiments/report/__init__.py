"""Pages, videos, charts and pictures made from results and episode records."""
