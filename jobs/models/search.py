"""How words are compared, in texts and in what is looked for."""

from django.contrib.postgres.search import SearchQuery

from jobs.models.questions import Blank

# How words are cut down to what is compared; the same for texts and for what is looked for.
LANGUAGE = "english"


def asked_for(words: str | Blank) -> SearchQuery:
    """Return what someone typed into a search field, as a query."""
    return SearchQuery(words, config=LANGUAGE, search_type="websearch")
