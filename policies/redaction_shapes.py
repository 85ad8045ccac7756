"""Token shapes: what the issuers of keys and tokens publish about how theirs look, one pattern a shape.

Patterns are RE2 over bytes. They ask for fewer characters than a whole token has, because logs cut tokens, and
leave the end open, because lengths grow: what a prefix gives away is removed to its last character.
"""

from __future__ import annotations

from typing import Final

CLOUD: Final = (
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}",  # AWS access key ids
    r"\bABSK[A-Za-z0-9+/]{40,}=*",  # AWS Bedrock keys
    r"\b(?:FwoGZXIvYXdzE|IQoJb3JpZ2lu)[A-Za-z0-9+/=%_-]{20,}",  # AWS session tokens
    r"AIza[A-Za-z0-9_-]{20,}",  # Google API keys
    r"GOCSPX-[A-Za-z0-9_-]{12,}",  # Google OAuth client secrets
    r"\bya29\.[A-Za-z0-9_.-]{16,}",  # Google access tokens
    r"\b1//0[A-Za-z0-9_-]{20,}",  # Google refresh tokens
    r"\b[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{20,}",  # Entra client secrets
    r"\b[A-Za-z0-9+/]{60,}(?:\+AMC|\+ASt|AAAA|ACDb|\+ARm|\+AEh)[A-Za-z0-9+/]{4,}={0,2}",  # Azure signed keys
    r"\b[A-Za-z0-9]{60,}AZDO[A-Za-z0-9]{4}",  # Azure DevOps
    r"\bdo[opr]_v1_[a-f0-9]{20,}",  # DigitalOcean
    r"\bHRKU-[A-Za-z0-9_-]{16,}",  # Heroku
    r"\b(?:fo1_|fm[12][ar]?_)[A-Za-z0-9_+/=-]{20,}",  # Fly.io
    r"\bvc[pkrai]_[A-Za-z0-9]{16,}",  # Vercel
    r"\bnf[pcoub]_[A-Za-z0-9]{20,}",  # Netlify
    r"\bcf(?:ut|at|k)_[A-Za-z0-9]{20,}",  # Cloudflare
    r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{20,}",  # Cloudflare origin CA
    r"\bLTAI[A-Za-z0-9]{12,}",  # Alibaba
    r"\bAKID[A-Za-z0-9]{20,}",  # Tencent
    r"\b(?:AQVN|YC)[A-Za-z0-9_-]{32,}",  # Yandex
    r"\bt1\.[A-Za-z0-9_-]{40,}={0,2}[A-Za-z0-9_.=-]*",  # Yandex IAM
    r"\bSCW[A-Z0-9]{17}\b",  # Scaleway
    r"\b(?:dapi|dkea|dose)[a-f0-9]{28,}(?:-\d)?",  # Databricks
    r"\bpul-[a-f0-9]{30,}",  # Pulumi
    r"\b[A-Za-z0-9]{10,}\.atlasv1\.[A-Za-z0-9_=-]{20,}",  # Terraform Cloud
    r"\bhv[sbr]\.[A-Za-z0-9_-]{16,}",  # Vault
    r"\b[sb]\.[A-Za-z0-9]{24}\b",  # Vault before 1.10
    r"\bdp\.(?:pt|st|ct|sa|said|scim|audit)\.[A-Za-z0-9_.-]{16,}",  # Doppler
    r"\bops_eyJ[A-Za-z0-9_=-]{20,}",  # 1Password service accounts
    r"\bA3-[A-Z0-9]{6}-(?:[A-Z0-9]{5,11}-){2,}[A-Z0-9]{5}",  # 1Password secret keys
    r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}",  # age
    r"\bpscale_(?:tkn|pw|oauth)_[A-Za-z0-9_=.-]{16,}",  # PlanetScale
    r"\bsb(?:p|_secret|_publishable)_[A-Za-z0-9_-]{16,}",  # Supabase
    r"\bn(?:api|pg)_[A-Za-z0-9]{12,}",  # Neon
    r"\brnd_[A-Za-z0-9]{20,}",  # Render
    r"\btskey-[a-z]+-[A-Za-z0-9]+-[A-Za-z0-9]{12,}",  # Tailscale
    r"\b(?:eyJrIjoi|glc_|glsa_)[A-Za-z0-9_+/=-]{20,}",  # Grafana
    r"\bNR(?:AK|II|IQ|JS|RA|AA)-[A-Za-z0-9_-]{16,}",  # New Relic
    r"\b(?:[a-f0-9]{36}|[a-z]{2}01xx[a-f0-9]{30})(?:NRAL|FFFFNRAL)",  # New Relic licences
    r"\bsntr(?:ys|yu)_[A-Za-z0-9_+/=.-]{20,}",  # Sentry
    r"\bhc[abx][a-z]{2}_[A-Za-z0-9]{20,}",  # Honeycomb
    r"\bdd[apw]_?[A-Za-z0-9]{32,}",  # Datadog
    r"\b(?:sdk|mob|api)-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",  # LaunchDarkly
    r"\bsq[pua]_[a-f0-9]{30,}",  # SonarQube
    r"\bLS0tLS1CRUdJTi[A-Za-z0-9+/=]{20,}",  # a PEM block inside base64, as kubeconfigs carry it
)

FORGE: Final = (
    r"gh[pousr]_[A-Za-z0-9_]{16,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{16,}",
    r"\bgl(?:pat|dt|rt|cbt|ptt|ft|oas|soat|imt|agent|ffct|wt)-[A-Za-z0-9_.-]{16,}",  # GitLab
    r"\bGR1348941[A-Za-z0-9_-]{16,}",  # GitLab runners
    r"\b_gitlab_session=[A-Za-z0-9]{16,}",
    r"\bAT(?:BB|CTT3|ATT3|STT3|OA)[A-Za-z0-9_=+/.-]{16,}",  # Atlassian, Bitbucket
    r"\bbkua_[a-f0-9]{20,}",  # Buildkite
    r"\bbk[a-z]{2}_[A-Za-z0-9]{20,}",
    r"\bCCI(?:PAT|PRJ)_[A-Za-z0-9]+_[a-f0-9]{20,}",  # CircleCI
    r"\bgt[aor]_[A-Za-z0-9]{20,}",  # Gitea, Forgejo
    r"\b(?:lin_api|lin_oauth)_[A-Za-z0-9]{16,}",  # Linear
    r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{20,}",  # Postman
    r"\bfig[dou]_[A-Za-z0-9_-]{20,}",  # Figma
    r"\b(?:ntn|secret)_[A-Za-z0-9]{40,}",  # Notion
    r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{32,}",  # Airtable
    r"\bCFPAT-[A-Za-z0-9_-]{20,}",  # Contentful
    r"\btfp_[A-Za-z0-9_]{20,}",  # Typeform
    r"\b[12]/\d{10,}(?:/\d{10,})?:[0-9a-f]{32}\b",  # Asana
    r"\bpat-(?:na|eu|ap)\d-[a-f0-9-]{20,}",  # HubSpot
    r"\bsl\.(?:u\.)?[A-Za-z0-9_-]{40,}",  # Dropbox
)

CHAT: Final = (
    r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}",  # Slack
    r"\bxapp-\d-[A-Za-z0-9-]{10,}",
    r"\bxwfp-[A-Za-z0-9-]{10,}",
    r"hooks\.slack(?:-gov)?\.com\\?/(?:services|workflows|triggers)\\?/[A-Za-z0-9\\/_+-]{8,}",
    r"discord(?:app)?\.com\\?/api\\?/(?:v\d+\\?/)?webhooks\\?/\d+\\?/[A-Za-z0-9_-]{16,}",
    r"\b[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{20,}",  # Discord bots
    r"\b(?:bot)?\d{8,10}:AA[A-Za-z0-9_-]{30,}",  # Telegram
    r"[a-z0-9-]+\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/_-]{20,}",  # Teams
    r"[a-z0-9.-]+\.(?:logic\.azure|environment\.api\.powerplatform)\.com(?::\d+)?/(?:[^\s\"'<>`]*/)?workflows"
    r"/[^\s\"'<>`]{20,}",  # Teams, as workflows
    r"chat\.googleapis\.com/v1/spaces/[^\s\"'<>]{20,}",
    r"hooks\.zapier\.com/hooks/[A-Za-z0-9/_-]{8,}",
    r"api\.pagerduty\.com/[^\s\"'<>]{20,}routing_key=[A-Za-z0-9]+",
    r"\bSK[0-9a-f]{32}\b",  # Twilio
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"\b(?:pub)?key-[0-9a-f]{32}\b",  # Mailgun
    r"\b[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}\b",  # Mailgun of today
    r"\b[0-9a-f]{32}-us\d{1,2}\b",  # Mailchimp
    r"\bmd-[A-Za-z0-9_-]{22}\b",  # Mandrill
    r"\bx(?:keysib|smtpsib)-[a-f0-9]{40,}-[A-Za-z0-9]{12,}",  # Brevo
    r"\bre_[A-Za-z0-9]{6,}_[A-Za-z0-9]{16,}",  # Resend
    r"\bEAA[A-Za-z0-9]{60,}",  # Meta
    r"\bAAAAAAAAAAAA[A-Za-z0-9%_-]{40,}",  # X (Twitter) bearer
    r"\bAAAA[A-Za-z0-9_-]{7}:[A-Za-z0-9_-]{100,}",  # Firebase messaging
)

PAYMENT: Final = (
    r"(?:sk|rk|pk|ek)_(?:live|test|prod|sandbox)_[A-Za-z0-9_]{10,}",  # Stripe, Paystack, Clerk …
    r"\bwhsec_[A-Za-z0-9+/=_-]{16,}",  # Stripe webhooks, Svix
    r"\bsq0[a-z]{3}-[A-Za-z0-9_-]{20,}",  # Square
    r"\bEAAA[A-Za-z0-9_-]{55,}",
    r"\baccess_token\$(?:production|sandbox)\$[a-z0-9]{12,}\$[a-f0-9]{24,}",  # Braintree
    r"\bAQE[a-zA-Z0-9]{2,}[A-Za-z0-9+/=_-]{60,}",  # Adyen
    r"\brzp_(?:live|test)_[A-Za-z0-9]{10,}",  # Razorpay
    r"\bFLW(?:SECK|PUBK)(?:_TEST)?-[A-Za-z0-9-]{12,}",  # Flutterwave
    r"\b(?:access|public|link)-(?:sandbox|development|production)-[a-f0-9-]{30,}",  # Plaid
    r"\bshp(?:at|ca|pa|ss|ua|tka)_[A-Fa-f0-9]{20,}",  # Shopify
    r"\b(?:live|test)_[A-Za-z0-9_-]{28,}",  # GoCardless, Mollie
    r"\bA21AA[A-Za-z0-9_-]{60,}",  # PayPal
    r"\bpdl_(?:live|sdbx)_(?:apikey|ntfset)_[A-Za-z0-9_]{20,}",  # Paddle
)

MODEL: Final = (
    r"\bsk-(?:ant|proj|svcacct|admin|or|lf|None)-[A-Za-z0-9_-]{16,}",  # Anthropic, OpenAI, OpenRouter …
    r"\bsk-[A-Za-z0-9]{20,}",
    r"\bhf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"\bapi_org_[A-Za-z0-9]{20,}",
    r"\br8_[A-Za-z0-9]{20,}",  # Replicate
    r"\bgsk_[A-Za-z0-9]{20,}",  # Groq
    r"\bpplx-[A-Za-z0-9]{20,}",  # Perplexity
    r"\bxai-[A-Za-z0-9]{20,}",
    r"\b(?:nvapi|csk|tvly|fc|voy|pa|tgp_v1|jina|fw)[-_][A-Za-z0-9_-]{28,}",
    r"\blsv2_(?:pt|sk)_[a-f0-9]{20,}[a-f0-9_]*",  # LangSmith
    r"\bpcsk_[A-Za-z0-9_]{20,}",  # Pinecone
    r"\bsk_[a-f0-9]{40,}",  # ElevenLabs
    r"\bwandb_v1_[A-Za-z0-9_]{20,}",
    r"\bam_(?:us|eu)_[A-Za-z0-9]{20,}",
)

PACKAGE: Final = (
    r"npm_[A-Za-z0-9]{20,}",
    r"pypi-[A-Za-z0-9_-]{16,}",
    r"\brubygems_[a-f0-9]{20,}",
    r"\boy2[a-z0-9]{40,}",  # NuGet
    r"\bcio[A-Za-z0-9]{32}\b",  # crates.io
    r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{16,}",  # Docker Hub
    r"\bAKCp[A-Za-z0-9]{40,}",  # JFrog
    r"\bcmVmdGtu[A-Za-z0-9]{40,}",
    r"\bCLOJARS_[a-z0-9]{20,}",
    r"\bpackagist_[a-z]+_[a-f0-9]{20,}",
    r"\bconan_[A-Za-z0-9]{20,}",
    r"\bskpt_[A-Za-z0-9]{20,}",
)

GENERIC: Final = (
    r"\bey[JA-Za-z0-9_-]{8,}\.ey[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,3}",  # JWT, whole or cut
    r"\beyJhbGciOi[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",  # JWT header alone, JWE
    r"\b[sp]k\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?",  # Mapbox
    r"django-insecure-[^\s\"'`]{20,}",
    r"\$(?:2[abxy]|5|6|1|apr1|y|7)\$[./A-Za-z0-9$=,-]{20,}",  # crypt(3) hashes
    r"\$argon2(?:id|i|d)\$[^\s\"']{20,}",
    r"\b(?:pbkdf2_sha\d+|scrypt|bcrypt_sha256|argon2)\$[^\s\"']{20,}",  # Django's
    r"\{S?SHA(?:256|512)?\}[A-Za-z0-9+/=]{20,}",  # LDAP
    r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b",  # Kubernetes bootstrap tokens
    r"\bSHA512-CRYPT[^\s]{20,}",
)

SHAPES: Final = CLOUD + FORGE + CHAT + PAYMENT + MODEL + PACKAGE + GENERIC
