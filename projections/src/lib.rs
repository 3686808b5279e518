//! What Nexplane answers: workers that turn events into read models.
