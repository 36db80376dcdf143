"""Reads the tags and notes that people write beside a job."""

from django import forms

from jobs.forms.new_job import MOST_TAGS


class TagsForm(forms.Form):
    """A job's tags, apart by commas; whether each can be kept is for `lifecycle` to say."""

    tags = forms.CharField(max_length=1300, required=False)

    def clean_tags(self) -> list[str]:
        tags = list(dict.fromkeys(tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()))
        if len(tags) > MOST_TAGS:
            raise forms.ValidationError(f"At most {MOST_TAGS} tags.")
        return tags
