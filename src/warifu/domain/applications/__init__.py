"""Applications for cards, and the notification cards whose forms they are made on."""
