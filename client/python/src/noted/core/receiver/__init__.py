"""The rules of a receiver, without I/O: which messages it takes, how they are verified, and
what PayPal is answered.
"""
