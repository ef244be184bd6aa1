"""A WSGI application that takes PayPal's posts."""
