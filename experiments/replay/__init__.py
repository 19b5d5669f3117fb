"""To look at what was chosen: a page, films and pictures, all from an episode record and the videos themselves."""
