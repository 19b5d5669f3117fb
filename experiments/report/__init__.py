"""From an episode record to what is shown: page, film, picture."""
