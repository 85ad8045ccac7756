"""Give a browser a signed address to put its file at."""

import hashlib
import hmac
import json
import time

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

VALID_FOR_S = 900


@csrf_exempt
@require_POST
def presign(request: HttpRequest) -> JsonResponse:
    filename = json.loads(request.body)["filename"]
    key = f"{settings.S3_UPLOAD_PREFIX.strip('/')}/{int(time.time())}-{filename}"
    host = f"{settings.S3_UPLOAD_BUCKET}.s3.{settings.AWS_REGION}.amazonaws.com"
    until = int(time.time()) + VALID_FOR_S
    text = f"PUT\n{host}/{key}\n{until}".encode()
    signature = hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()
    return JsonResponse(
        {
            "data": {
                "upload_url": f"https://{host}/{key}?expires={until}&signature={signature}",
                "file_url": f"{settings.S3_PUBLIC_BASE_URL.rstrip('/')}/{key}",
            }
        },
        status=200,
    )
