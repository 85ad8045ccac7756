"""What StageLog keeps: the stages of a production and when each was reached."""

from django.db import models


class Stage(models.Model):
    title = models.CharField(max_length=120)
    reached_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-reached_at",)

    def __str__(self) -> str:
        return self.title
