"""What trains and judges in one call: a head, a leaderboard, a search, the reference."""
