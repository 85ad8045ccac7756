python manage.py shell -c 'from django.core.signing import Signer; Signer()'
