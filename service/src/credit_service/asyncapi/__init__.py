"""The AsyncAPI document of a deployment, made of the contracts alone.

It describes what is published and read; it neither reads nor publishes anything.
"""
