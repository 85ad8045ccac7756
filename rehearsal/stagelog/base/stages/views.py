"""Pages of StageLog."""

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from stages.models import Stage


def stage_list(request: HttpRequest) -> HttpResponse:
    return render(request, "stages/list.html", {"stages": Stage.objects.all()[:50]})


def health(request: HttpRequest) -> JsonResponse:
    """What the load balancer asks: the process answers and its database does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM stages_stage")
        (count,) = cursor.fetchone()
    return JsonResponse({"status": "ok", "stages": count})
