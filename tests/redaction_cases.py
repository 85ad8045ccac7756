"""Makes up secrets of every kind in the places where services print them, anew for every seed."""

# ruff: noqa: E501 - lines of logs stay whole
from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = LOWER + UPPER + DIGITS
HEX = "0123456789abcdef"
URLSAFE = ALNUM + "-_"
SYMBOLS = "!@$%^&*(-_=+)#"

Make = Callable[[random.Random], str]


@dataclass(frozen=True)
class Case:
    """A text with a secret in it. `kind` and `place` say which; nothing of `secret` may survive."""

    kind: str
    place: str
    secret: str
    text: str


def pick(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(length))


def of(alphabet: str, length: int, prefix: str = "", suffix: str = "") -> Make:
    return lambda rng: prefix + pick(rng, alphabet, length) + suffix


def jwt(rng: random.Random) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps({"alg": rng.choice(["HS256", "RS256"]), "typ": "JWT"}).encode())
    body = part(json.dumps({"sub": pick(rng, ALNUM, 12), "exp": rng.randrange(10**9)}).encode())
    return f"{head}.{body}.{part(rng.randbytes(32))}"


def uuid(rng: random.Random) -> str:
    return "-".join(pick(rng, HEX, n) for n in (8, 4, 4, 4, 12))


# Tokens whose shape says what they are: they stand anywhere.
SHAPED: dict[str, Make] = {
    "aws key id": of(UPPER + "234567", 16, "AKIA"),
    "aws temporary key id": of(UPPER + "234567", 16, "ASIA"),
    "google api key": of(URLSAFE, 35, "AIza"),
    "google oauth secret": of(URLSAFE, 28, "GOCSPX-"),
    "google access token": of(URLSAFE, 120, "ya29.a0"),
    "entra client secret": lambda rng: pick(rng, ALNUM, 3) + "8Q~" + pick(rng, ALNUM + "_~.-", 34),
    "digitalocean": of(HEX, 64, "dop_v1_"),
    "databricks": of(HEX, 32, "dapi"),
    "vault": of(URLSAFE, 90, "hvs."),
    "terraform cloud": lambda rng: pick(rng, ALNUM, 14) + ".atlasv1." + pick(rng, ALNUM, 67),
    "doppler": of(ALNUM, 43, "dp.pt."),
    "grafana": of(ALNUM, 32, "glsa_", "_3f2a9b1c"),
    "new relic": of(UPPER + DIGITS, 27, "NRAK-"),
    "planetscale": of(URLSAFE, 43, "pscale_tkn_"),
    "github pat": of(ALNUM, 36, "ghp_"),
    "github app token": of(ALNUM, 36, "ghs_"),
    "github oauth": of(ALNUM, 36, "gho_"),
    "github refresh": of(ALNUM, 76, "ghr_"),
    "github fine-grained": lambda rng: f"github_pat_{pick(rng, ALNUM, 22)}_{pick(rng, ALNUM, 59)}",
    "gitlab pat": of(URLSAFE, 20, "glpat-"),
    "gitlab runner": of(URLSAFE, 20, "glrt-"),
    "atlassian": of(URLSAFE, 186, "ATATT3"),
    "slack bot": lambda rng: f"xoxb-{pick(rng, DIGITS, 12)}-{pick(rng, DIGITS, 13)}-{pick(rng, ALNUM, 24)}",
    "slack user": lambda rng: (
        f"xoxp-{pick(rng, DIGITS, 12)}-{pick(rng, DIGITS, 12)}-{pick(rng, DIGITS, 13)}-{pick(rng, HEX, 32)}"
    ),
    "slack app": lambda rng: f"xapp-1-A{pick(rng, UPPER, 10)}-{pick(rng, DIGITS, 13)}-{pick(rng, HEX, 64)}",
    "slack webhook": lambda rng: (
        f"https://hooks.slack.com/services/T{pick(rng, UPPER, 10)}/B{pick(rng, UPPER, 10)}/{pick(rng, ALNUM, 24)}"
    ),
    "discord webhook": lambda rng: (
        f"https://discord.com/api/webhooks/{pick(rng, DIGITS, 18)}/{pick(rng, URLSAFE, 68)}"
    ),
    "telegram bot": lambda rng: f"{pick(rng, '123456789', 10)}:AA{pick(rng, URLSAFE, 33)}",
    "sendgrid": lambda rng: f"SG.{pick(rng, URLSAFE, 22)}.{pick(rng, URLSAFE, 43)}",
    "twilio key": of(HEX, 32, "SK"),
    "mailgun": of(HEX, 32, "key-"),
    "mailchimp": of(HEX, 32, "", "-us12"),
    "stripe live": of(ALNUM, 24, "sk_live_"),
    "stripe long": of(ALNUM, 99, "sk_live_51"),
    "stripe restricted": of(ALNUM, 24, "rk_test_"),
    "stripe webhook": of(ALNUM, 32, "whsec_"),
    "square": of(URLSAFE, 43, "sq0csp-"),
    "shopify": of(HEX, 32, "shpat_"),
    "razorpay": of(ALNUM, 14, "rzp_live_"),
    "plaid": lambda rng: f"access-production-{uuid(rng)}",
    "braintree": lambda rng: f"access_token$production${pick(rng, LOWER + DIGITS, 16)}${pick(rng, HEX, 32)}",
    "openai": lambda rng: f"sk-{pick(rng, ALNUM, 20)}T3BlbkFJ{pick(rng, ALNUM, 20)}",
    "openai project": of(URLSAFE, 120, "sk-proj-"),
    "anthropic": of(URLSAFE, 93, "sk-ant-api03-", "AA"),
    "hugging face": of(LOWER + UPPER, 34, "hf_"),
    "replicate": of(ALNUM, 37, "r8_"),
    "groq": of(ALNUM, 52, "gsk_"),
    "npm": of(ALNUM, 36, "npm_"),
    "pypi": of(URLSAFE, 150, "pypi-AgEIcHlwaS5vcmc"),
    "rubygems": of(HEX, 48, "rubygems_"),
    "docker hub": of(URLSAFE, 27, "dckr_pat_"),
    "nuget": of(LOWER + DIGITS, 43, "oy2"),
    "jwt": jwt,
    "opaque": of(ALNUM, 40),
    "opaque url-safe": of(URLSAFE, 43),
    "opaque base64": lambda rng: base64.b64encode(rng.randbytes(32)).decode(),
    "opaque base64 48": lambda rng: base64.b64encode(rng.randbytes(48)).decode(),
    "django default key": of(LOWER + DIGITS + SYMBOLS, 50, "django-insecure-"),
}

# Secrets that any name tells, whatever they look like.
PLAIN: dict[str, Make] = {
    "weak password": lambda rng: (
        rng.choice(["hunter", "letmein", "Summer", "changeit", "qwerty", "dragon"])
        + pick(rng, DIGITS, rng.choice([1, 2, 4]))
    ),
    "short password": of(ALNUM, 8),
    "password with symbols": lambda rng: (
        pick(rng, ALNUM, 6) + pick(rng, "!$%^*-_+#@,;.~?", 5) + pick(rng, ALNUM, 5)
    ),
    "passphrase": lambda rng: "-".join(rng.sample(["correct", "horse", "battery", "staple", "lantern"], 4)),
    "hex key": of(HEX, 32),
    "long hex key": of(HEX, 64),
    "uuid key": uuid,
    "aws secret": of(ALNUM + "/+", 40),
    "azure key": lambda rng: base64.b64encode(rng.randbytes(64)).decode(),
}

ANY_NAMES = (
    "DB_PASSWORD", "POSTGRES_PASSWORD", "MYSQL_ROOT_PASSWORD", "REDIS_PASSWORD", "SMTP_PASS", "PGPASSWORD",
    "password", "passwd", "db_pwd", "userPassword", "spring.datasource.password", "SECRET_KEY", "client_secret",
    "clientSecret", "API_KEY", "apiKey", "STRIPE_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key",
    "SecretAccessKey", "AUTH_TOKEN", "access_token", "refresh_token", "accessToken", "GITHUB_TOKEN", "JWT_SECRET",
    "ENCRYPTION_KEY", "SIGNING_KEY", "private_key", "RABBITMQ_DEFAULT_PASS", "TWILIO_AUTH_TOKEN", "DD_API_KEY",
    "SECRET_KEY_BASE", "webhook_secret", "app_secret", "session_secret", "credentials", "LDAP_BIND_PASSWORD",
)  # fmt: skip

NAMED_PLACES: dict[str, str] = {
    "environment": "{name}={secret}",
    "export": "export {name}='{secret}'",
    "export double": 'export {name}="{secret}"',
    "env list": "HOME=/root {name}={secret} PATH=/usr/bin:/bin",
    "docker inspect": '            "Env": ["PATH=/usr/bin", "{name}={secret}", "LANG=C"],',
    "json": '{{"level":"info","{name}":"{secret}","port":5432}}',
    "json spaced": '  "{name}": "{secret}",',
    "json in json": '{{"msg":"config {{\\"{name}\\":\\"{secret}\\",\\"n\\":1}}"}}',
    "python dict": "{{'HOST': 'db', '{name}': '{secret}', 'PORT': 5432}}",
    "python repr": "Settings(debug=False, {name}='{secret}', region='eu-central-1')",
    "python source": "    {name} = '{secret}'",
    "python bytes": "config[b'{name}'] = b'{secret}'",
    "yaml": "  {name}: {secret}",
    "yaml quoted": '{name}: "{secret}"',
    "yaml list": "- {name}: '{secret}'",
    "logfmt": "time=2026-03-01T10:00:00Z level=debug {name}={secret} user=app",
    "info line": "2026-03-01 10:00:00,123 INFO app.config {name}={secret}",
    "info colon": "INFO loaded setting {name}: {secret}",
    "ruby hash": '{{:user=>"app", :{name}=>"{secret}"}}',
    "ruby string hash": '{{"user"=>"app", "{name}"=>"{secret}"}}',
    "java properties": "{name} = {secret}",
    "java tostring": "DataSource{{url=jdbc:h2, {name}={secret}, pool=5}}",
    "go struct": "&{{Host:db {name}:{secret} Port:5432}}",
    "xml": "<{name}>{secret}</{name}>",
    "query": "GET /callback?{name}={secret}&state=ok HTTP/1.1",
    "form": "user=app&{name}={secret}&submit=1",
    "ecs json": '{{"name": "{name}", "value": "{secret}"}}',
    "k8s env": "        - name: {name}\n          value: {secret}",
    "k8s describe": "      {name}:   {secret}",
    "terraform": '  {name} = "{secret}"',
    "docker run": "docker run -d -e {name}={secret} -p 8080:8080 app:1",
    "helm": "helm upgrade app ./chart --set {name}={secret} --wait",
    "json array": '["--{name}", "{secret}"]',
    "tuple": "('{name}', '{secret}')",
    "toml": '{name} = "{secret}"',
    "container prefix": "api-1  | {name}={secret}",
}  # fmt: skip

FLAG_PLACES: dict[str, str] = {
    "flag": "running: app --password {secret} --verbose",
    "flag equals": "running: app --password={secret} --verbose",
    "token flag": "cli login --token {secret} --host x",
    "api key flag": "exec: tool --api-key {secret}",
}

ANYWHERE: dict[str, str] = {
    "bare": "2026-03-01T10:00:00Z DEBUG using {secret} for upstream",
    "quoted": 'ValueError: cannot parse "{secret}"',
    "exception": "requests.exceptions.HTTPError: 401 for key {secret}",
    "parenthesis": "Login rejected ({secret})",
    "escaped newline": '"body":"line one\\n{secret}\\nline three"',
    "bracket": "[auth] [{secret}] accepted",
    "end": "token was {secret}",
    "comma": "tried {secret}, gave up",
}

BEARER: dict[str, str] = {
    "authorization": "Authorization: Bearer {secret}",
    "authorization lower": "authorization: bearer {secret}",
    "authorization python": "headers={{'Authorization': 'Bearer {secret}', 'Accept': '*/*'}}",
    "authorization json": '{{"headers":{{"Authorization":"Bearer {secret}"}}}}',
    "authorization token": "Authorization: Token {secret}",
    "curl": "curl -H 'Authorization: Bearer {secret}' https://api.example.com/v1/me",
    "header dump": "> Authorization: Bearer {secret}",
    "api key header": "X-Api-Key: {secret}",
    "vault header": "X-Vault-Token: {secret}",
    "private token": "PRIVATE-TOKEN: {secret}",
    "cookie": "Cookie: sessionid={secret}; theme=dark",
    "set-cookie": "Set-Cookie: session={secret}; Path=/; HttpOnly; Secure",
    "query token": "GET /ws?token={secret} 101",
    "signed url": "https://b.s3.amazonaws.com/k?X-Amz-Expires=900&X-Amz-Signature={secret}&X-Amz-SignedHeaders=host",
}

URLS: dict[str, str] = {
    "postgres": "DATABASE_URL=postgres://app:{secret}@db.internal:5432/app?sslmode=require",
    "postgresql driver": "could not connect to postgresql+psycopg://app:{secret}@10.0.0.5/app",
    "mysql": "mysql://root:{secret}@mysql:3306/shop",
    "mongodb": "MongoServerError at mongodb+srv://svc:{secret}@cluster0.abcde.mongodb.net/?retryWrites=true",
    "redis": "redis://:{secret}@cache:6379/0",
    "amqp": "amqp://guest:{secret}@rabbit:5672/%2f",
    "https": "fatal: unable to access 'https://deploy:{secret}@git.example.com/acme/app.git/'",
    "token user": "https://x-access-token:{secret}@github.com/acme/app.git",
    "pip": "Looking in indexes: https://__token__:{secret}@pypi.example.com/simple",
    "proxy": "HTTPS_PROXY=http://svc:{secret}@proxy.internal:3128",
    "smtp": "smtp://mailer:{secret}@smtp.example.com:587",
    "quoted": "OperationalError: (\"mysql://app:{secret}@db/app\", 'refused')",
}
NOT_IN_URLS = frozenset("/@#? ,;'\"")

DSNS: dict[str, str] = {
    "libpq": "host=db port=5432 user=app password={secret} dbname=app sslmode=require",
    "libpq quoted": "dsn: host=db user=app password='{secret}' dbname=app",
    "ado": "Server=tcp:db,1433;User ID=app;Password={secret};Encrypt=True;",
    "ado pwd": "Server=db;Uid=app;Pwd={secret};Database=app",
    "jdbc": "jdbc:postgresql://db:5432/app?user=app&password={secret}&ssl=true",
    "jdbc semicolon": "jdbc:sqlserver://db:1433;user=app;password={secret};encrypt=true",
    "azure storage": "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={secret};EndpointSuffix=core.windows.net",
    "service bus": "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={secret}",
    "go mysql": "app:{secret}@tcp(db.internal:3306)/app?parseTime=true",
    "sql user": "CREATE USER app WITH PASSWORD '{secret}';",
    "sql identified": "CREATE USER 'app'@'%' IDENTIFIED BY '{secret}';",
    "netrc": "machine github.com login bot password {secret}",
    "pgpass": "db.internal:5432:app:app:{secret}",
    "npmrc": "//npm.example.com/:_authToken={secret}",
    "redis auth": 'redis-cli -h cache -a {secret} ping',
    "mysql flag": "+ mysql -h db -u root -p{secret} app",
    "curl user": "+ curl -u deploy:{secret} https://nexus.example.com/x",
    "sshpass": "+ sshpass -p {secret} ssh deploy@host",
}  # fmt: skip


def pem(rng: random.Random) -> tuple[str, list[str]]:
    kind = rng.choice(
        ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]
    )
    data = base64.b64encode(rng.randbytes(rng.choice([121, 610, 1190]))).decode()
    lines = [data[at : at + 64] for at in range(0, len(data), 64)]
    return kind, lines


def key_cases(rng: random.Random) -> Iterator[Case]:
    kind, lines = pem(rng)
    begin, end = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
    body = "".join(lines)
    whole = "\n".join([begin, *lines, end])
    yield Case("key", "plain", body, f"loading key\n{whole}\nserver ready")
    yield Case("key", "crlf", body, "x\r\n" + whole.replace("\n", "\r\n") + "\r\ny")
    yield Case(
        "key", "escaped", body, '{"private_key": "' + whole.replace("\n", "\\n") + '\\n", "client_id": "1"}'
    )
    yield Case("key", "twice escaped", body, 'msg="{\\"key\\":\\"' + whole.replace("\n", "\\\\n") + '\\"}"')
    yield Case("key", "environment", body, f'TLS_KEY="{whole}"\nPORT=80')
    yield Case(
        "key", "indented yaml", body, "tls.key: |\n" + "\n".join("    " + line for line in whole.split("\n"))
    )
    yield Case("key", "prefixed", body, "\n".join(f"api-1  | {line}" for line in whole.split("\n")))
    stamp = "2026-03-01T10:00:00.123456789Z "
    yield Case("key", "timestamps", body, "\n".join(stamp + line for line in whole.split("\n")))
    yield Case("key", "cut end", body, "start\n" + "\n".join([begin, *lines]))
    yield Case("key", "cut begin", body, "\n".join([*lines, end]) + "\nready")
    yield Case("key", "one line", body, f"key={begin}{body}{end} ok")
    yield Case("key", "spaces", body, f"KEY='{begin} {' '.join(lines)} {end}'")
    yield Case("key", "python repr", body, f"open({whole + chr(10)!r})")
    yield Case("key", "base64 of pem", base64.b64encode(whole.encode()).decode(),
               "client-key-data: " + base64.b64encode(whole.encode()).decode())  # fmt: skip


def manifest_cases(rng: random.Random) -> Iterator[Case]:
    plain = pick(rng, ALNUM, 16)
    value = base64.b64encode(plain.encode()).decode()
    name = rng.choice(["url", "config", "username2", "tls-ca", "app.ini", "value"])
    yield Case(
        "kubernetes",
        "yaml",
        value,
        f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\ntype: Opaque\ndata:\n  {name}: {value}\n  b: eA==\n",
    )
    yield Case(
        "kubernetes",
        "kubectl order",
        value,
        f"apiVersion: v1\ndata:\n  {name}: {value}\nkind: Secret\nmetadata:\n  name: app\n",
    )
    yield Case(
        "kubernetes",
        "stringData",
        plain,
        f"kind: Secret\nstringData:\n  {name}: {plain}\n  other: |\n    {plain}\nmetadata:\n  name: app\n",
    )
    yield Case(
        "kubernetes",
        "json",
        value,
        json.dumps({"apiVersion": "v1", "kind": "Secret", "data": {name: value}, "type": "Opaque"}),
    )
    yield Case(
        "kubernetes",
        "json pretty",
        value,
        json.dumps({"kind": "Secret", "data": {name: value, "x": "eA=="}}, indent=2),
    )
    yield Case(
        "kubernetes",
        "bootstrap token",
        (token := f"{pick(rng, LOWER + DIGITS, 6)}.{pick(rng, LOWER + DIGITS, 16)}"),
        f"kubeadm join 10.0.0.1:6443 --token {token} --discovery-token-ca-cert-hash sha256:{pick(rng, HEX, 64)}",
    )
    auth = base64.b64encode(f"bot:{plain}".encode()).decode()
    yield Case("docker config", "auth", auth, json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    yield Case("basic", "header", auth, f"Authorization: Basic {auth}")
    yield Case("basic", "curl", auth, f'curl -H "authorization: basic {auth}" https://x')
    yield Case("basic", "python", auth, f"{{'Authorization': b'Basic {auth}'}}")


def place_cases(rng: random.Random) -> Iterator[Case]:
    """Places that stand alone: other key blocks, manifests, drivers, headers, and hexadecimal keys by name."""
    found: list[tuple[str, str]] = []
    b = base64.b64encode(rng.randbytes(700)).decode()
    lines = [b[i : i + 64] for i in range(0, len(b), 64)]
    found.append(
        (
            b,
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n"
            + "\n".join(lines)
            + "\n=aBcD\n-----END PGP PRIVATE KEY BLOCK-----",
        )
    )
    found.append(
        (
            b,
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF0123456789ABCDEF\n\n"
            + "\n".join(lines)
            + "\n-----END RSA PRIVATE KEY-----",
        )
    )
    found.append(
        (
            b,
            "['-----BEGIN PRIVATE KEY-----\\n',\n"
            + "\n".join(f" '{line}\\n'," for line in lines)
            + "\n '-----END PRIVATE KEY-----\\n']",
        )
    )
    found.append(
        (
            b,
            '"-----BEGIN PRIVATE KEY-----\\n" +\n'
            + "\n".join(f'    "{line}\\n" +' for line in lines)
            + '\n    "-----END PRIVATE KEY-----\\n"',
        )
    )
    found.append(
        (
            b,
            "PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\nPrivate-Lines: 14\n"
            + "\n".join(lines)
            + "\nPrivate-MAC: abcdef",
        )
    )
    found.append(
        (
            b,
            "2026-03-01 10:00:00 DEBUG app - -----BEGIN RSA PRIVATE KEY-----\n"
            + "\n".join("2026-03-01 10:00:00 DEBUG app - " + line for line in lines)
            + "\n2026-03-01 10:00:00 DEBUG app - -----END RSA PRIVATE KEY-----",
        )
    )
    found.append((b, "openssh key\n" + "\n".join(lines) + "\nend"))
    found.append(
        (b, "key: >-\n  -----BEGIN PRIVATE KEY-----\n  " + " ".join(lines) + "\n  -----END PRIVATE KEY-----")
    )
    found.append(
        (
            b,
            json.dumps({"log": "-----BEGIN RSA PRIVATE KEY-----\n"})
            + "\n"
            + "\n".join(json.dumps({"log": line + "\n"}) for line in lines)
            + "\n"
            + json.dumps({"log": "-----END RSA PRIVATE KEY-----\n"}),
        )
    )
    s = pick(rng, ALNUM, 12)
    v = base64.b64encode(s.encode()).decode()
    found.append(
        (
            v,
            f"apiVersion: v1\nitems:\n- apiVersion: v1\n  data:\n    tls-thing: {v}\n  kind: Secret\n  metadata:\n    name: x\nkind: List",
        )
    )
    found.append(
        (
            v,
            json.dumps(
                {
                    "items": [
                        {
                            "kind": "Secret",
                            "apiVersion": "v1",
                            "metadata": {"name": "x", "annotations": {"a": "b"}},
                            "data": {"thing": v},
                        }
                    ]
                }
            ),
        )
    )
    found.append(
        (
            v,
            f'kubectl.kubernetes.io/last-applied-configuration: |\n      {{"apiVersion":"v1","data":{{"thing":"{v}"}},"kind":"Secret","metadata":{{}}}}',
        )
    )
    found.append((s, f'map[string][]uint8{{"password":"{s}"}}'))
    found.append((s, f"Environment:\n      DB_HOST:      db\n      DB_PASSWORD:  {s}\n    Mounts:"))
    found.append((s, f"helm upgrade --set-string postgresql.auth.password={s},replicas=2"))
    found.append((s, f"values:\n  auth:\n    postgresPassword: {s}"))
    found.append((s, f"Environment(DATABASE_PASSWORD='{s}')"))
    found.append((s, f"connect ECONNREFUSED {{ host: 'db', user: 'app', password: '{s}', port: 5432 }}"))
    found.append((s, f"dial error: postgres://app:{s}@db:5432/app?sslmode=disable: connection refused"))
    found.append((s, f"(Background: mysql+pymysql://app:{s}@10.0.0.1/app)"))
    found.append((s, f'Error parsing DSN "app:{s}@tcp(db:3306)/app"'))
    found.append((s, f"MONGO_URI=mongodb://root:{s}@mongo1:27017,mongo2:27017/admin?replicaSet=rs0"))
    found.append((s, f"REDIS_URL: rediss://default:{s}@redis:6380"))
    found.append((s, f"Data Source=db;Initial Catalog=app;User Id=sa;Password={s}"))
    found.append((s, f"jdbc:oracle:thin:app/{s}@//db:1521/orcl"))
    found.append((s, f"jdbc:mysql://db/app?user=root&password={s}&useSSL=false"))
    found.append((s, f"ldap bind failed: uid=app,dc=x password={s}"))
    found.append((s, f"smtp login: user=mailer pass={s}"))
    found.append((s, f"psql: PGPASSWORD={s} psql -h db"))
    found.append((s, f"+ export DB_PASS={s}"))
    found.append((s, f"  'PASSWORD': '{s}',"))
    found.append(
        (s, f"django.db.backends: {{'default': {{'ENGINE': 'x', 'USER': 'app', 'PASSWORD': '{s}'}}}}")
    )
    found.append((s, f'auth=("deploy", "{s}")'))
    found.append((s, f"HTTPBasicAuth('deploy', '{s}')"))
    found.append((s, f"--build-arg NPM_TOKEN={s}"))
    found.append((s, f"X-Auth-Token: {s}"))
    found.append((s, f"x-api-key: {s}"))
    found.append((s, f"Set-Cookie: sessionid={s}; HttpOnly"))
    found.append((s, f"csrftoken={s}; sessionid=x"))
    found.append((s, f'"secret" : "{s}"'))
    found.append((s, f'client_secret: "{s}"'))
    found.append((s, f"clientSecret={s}&grant_type=client_credentials"))
    found.append((s, f"password%3D{s}%26x"))
    h = pick(rng, HEX, 32)
    h64 = pick(rng, HEX, 64)
    found.append((h, f"DD_API_KEY={h}"))
    found.append((h, f"Datadog API key: {h}"))
    found.append((h64, f"SECRET_KEY_BASE: {h64}"))
    found.append((h, f"api key {h} is invalid"))
    found.append((h, f"twilio auth token={h}"))
    found.append((h, f"https://{h}@o123.ingest.sentry.io/45"))
    found.append((h, f"Authorization: Token token={h}"))
    found.append((h, f"CLOUDFLARE_API_KEY='{h}'"))
    found.append((h, f"apikey {h}"))
    found.append((h, f"X-Api-Key={h}"))
    found.append((h, f"access_key: {h}"))
    for number, (hidden, text) in enumerate(found):
        yield Case("place", str(number), hidden, text)


def cases(seed: int, rounds: int = 1) -> Iterator[Case]:
    """Every kind in places that fit it; `rounds` times with other values."""
    rng = random.Random(seed)
    for _ in range(rounds):
        for kind, make in SHAPED.items():
            for places in (ANYWHERE, BEARER, NAMED_PLACES):
                for place in rng.sample(sorted(places), 3):
                    secret = make(rng)
                    yield Case(
                        kind, place, secret, places[place].format(secret=secret, name=rng.choice(ANY_NAMES))
                    )
        for kind, make in PLAIN.items():
            for places in (NAMED_PLACES, URLS, DSNS, FLAG_PLACES):
                for place in rng.sample(sorted(places), 4):
                    secret = make(rng)
                    if places is URLS and set(secret) & NOT_IN_URLS:
                        continue
                    if places is DSNS and (set(secret) & set(";,@'\"&? #") or kind == "passphrase"):
                        continue
                    yield Case(
                        kind, place, secret, places[place].format(secret=secret, name=rng.choice(ANY_NAMES))
                    )
        yield from key_cases(rng)
        yield from manifest_cases(rng)
        yield from place_cases(rng)


def survives(secret: str, text: str) -> bool:
    """Whether a run of twelve characters of the secret (six of one shorter than that) stands in `text`."""
    length = 12 if len(secret) >= 12 else min(6, len(secret))
    flat = text.replace("\n", "").replace("\r", "")
    return any(secret[at : at + length] in flat or secret[at : at + length] in text
               for at in range(len(secret) - length + 1))  # fmt: skip
