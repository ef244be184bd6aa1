"""Asks Noted whether a donation has been noted already, so that each is processed once."""
from .types import Donation, Event, Evidence, Existence, Message, Note, NoteRequest, NoteResponse, Sighting, State, Verdict

__all__ = ["Donation", "Event", "Evidence", "Existence", "Message", "Note", "NoteRequest", "NoteResponse", "Sighting", "State", "Verdict"]
