"""How do complete systems compare along their operating points? Trainings, measurements, figures, the leaderboard."""
