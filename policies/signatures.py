"""The table of known causes: how each reads in a log, what to do, and whether a revert helps.

From the runbook of the incident this project comes from, widened by what the programs themselves print. Order is
precedence: the first signature that fits a line names it, so the special stands above the general.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from policies.facts import RevertHelps

YES, NO, MAYBE = RevertHelps.YES, RevertHelps.NO, RevertHelps.MAYBE


@dataclass(frozen=True, slots=True)
class Signature:
    """One cause. `certain`: the words alone tell that something is broken; otherwise a line that is only an
    information or a warning does not count."""

    kind: str
    pattern: re.Pattern[str]
    advice: str
    revert_helps: RevertHelps
    certain: bool = True


def any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_DATABASE_PORTS: Final = r"(?:5432|5433|6432|3306|33060|1433|1521|27017|26257|9042|6379)"

SIGNATURES: Final = (
    Signature(
        "db_tls",
        any_of(
            r"\b3159\b.{0,40}insecure transport",
            r"insecure transport are prohibited",
            r"require_secure_transport\s*=\s*ON",
            r"no pg_hba\.conf entry for .{0,200}(?:no encryption|SSL off)",
            r"pg_hba\.conf rejects connection for .{0,200}(?:no encryption|SSL off)",
            r"server (?:does not support SSL|requires? (?:SSL|encrypt))",
            r"SSL (?:connection )?is required",
            r"\(2026, '(?:SSL|TLS) |SSL connection error|certificate verify failed.{0,80}(?:rds|postgres|mysql)",
            r"root certificate file .{0,200} does not exist",
            r"connection to server at .{1,200} failed: SSL error",
            r"(?:rds\.amazonaws\.|postgres|mysql|mariadb).{0,200}certificate verify failed",
        ),
        "The database accepts only TLS connections: give the client the CA bundle and switch TLS on.",
        MAYBE,
    ),
    Signature(
        "db_login",
        any_of(
            r"(?:password|PAM|Ident|Peer|LDAP|GSSAPI) authentication failed for user",
            r"Access denied for user '[^']*'@",
            r"role \"[^\"]{1,80}\" does not exist",
            r"no pg_hba\.conf entry for",
            r"Login failed for user '",
            r"ORA-01017",
            r"(?:Mongo\w*Error|MongoServerError|OperationFailure).{0,80}(?:bad auth|Authentication failed)",
            r"fe_sendauth: no password supplied",
            r"(?:SASL|SCRAM)[\w-]*: .{0,60}password must be a string",
            r"WRONGPASS |NOAUTH Authentication required|AuthenticationError: (?:invalid |Authentication required)",
            r"Authentication failed against (?:the )?database server",  # Prisma
        ),
        "The database refused the login: check the user and its password in the secret, and that it was rotated.",
        NO,
    ),
    Signature(
        "db_down",
        any_of(
            r"could not translate host name|failed to resolve host",
            r"remaining connection slots are reserved",
            r"(?:sorry, )?[Tt]oo many (?:clients already|connections)",
            r"the database system is (?:starting up|shutting down|in recovery mode)",
            r"could not connect to server: ",
            r"connection to server at .{1,200} failed: (?!FATAL|\s*fe_sendauth)",
            r"Can't connect to (?:local )?(?:MySQL|MariaDB|server)",
            r"Lost connection to MySQL server",
            r"MySQL server has gone away",
            r"\(2003, |\(2002, |\(2005, \"?Unknown",
            r"Unknown (?:MySQL )?server host",
            rf"ECONNREFUSED [^\s]*:{_DATABASE_PORTS}\b",
            rf"Connection to [^\s]+:{_DATABASE_PORTS} refused",
            rf"dial tcp [^\s]*:{_DATABASE_PORTS}: (?:connect: connection refused|i/o timeout)",
            rf":{_DATABASE_PORTS}\b.{{0,80}}[Cc]onnection refused",
            rf"[Cc]onnection refused.{{0,80}}:{_DATABASE_PORTS}\b",
            r"(?:getaddrinfo|lookup)\b.{0,120}(?:rds\.amazonaws\.|postgres|mysql|mariadb|mongo|database|\b(?:db|pg|sql)\b)",
            rf"Errno 111\] Connect call failed \('[^']{{1,200}}', {_DATABASE_PORTS}",
            rf"[Cc]onnection refused.{{0,80}}\bport {_DATABASE_PORTS}\b",
            rf"(?:[Ee]rror|Errno) -?\d+ connecting to [^\s]{{1,200}}:{_DATABASE_PORTS}",
            r"(?i:(?:could not|cannot|can't|failed to|unable to) connect to (?:the )?"
            r"(?:database|db|mysql|postgres\w*|mariadb|mongo\w*|redis)\b)",
            r"Communications link failure",
            r"MongoServerSelectionError|ServerSelectionTimeoutError|MongoNetworkError",
            r"(?:PG::ConnectionBad|Mysql2::Error::ConnectionError|ActiveRecord::ConnectionNotEstablished)",
            r"Sequelize(?:ConnectionRefused|HostNotFound|ConnectionTimedOut)Error",
            r"HikariPool-\d+ - (?:Connection is not available|Exception during pool initialization)",
            r"\bP1001\b.{0,80}reach database server|Can't reach database server",
            r"connection to the message broker after a connection loss has been disabled",  # celery
            r"pool timed out while waiting for an open connection|\bPoolTimedOut\b",  # sqlx
            r"Npgsql\.NpgsqlException.{0,60}Failed to connect|\(DBConnection\.ConnectionError\) (?!client )",
            r"failed to connect to `?(?:host|user)=.{1,200}(?:hostname resolving|dial) error",  # pgx
            r"Error -?\d+ (?:while )?(?:connecting|writing) to (?:redis|socket)|MaxRetriesPerRequestError",
            r"SQLSTATE\[HY000\] \[200[2-6]\]",  # PDO
            r"KnexTimeoutError|SequelizeConnectionAcquireTimeoutError|QueuePool limit of size \d+ overflow",
        ),
        "The database cannot be reached or is full: look at RDS, security groups and connection limits, and hold.",
        NO,
    ),
    Signature(
        "migration",
        any_of(
            r"NodeNotFoundError",
            r"Conflicting migrations detected",
            r"Migrations are pending",
            r"ActiveRecord::PendingMigrationError",
            r"InconsistentMigrationHistory",
            r"CircularDependencyError",
            r"Can't locate revision identified by|Multiple head revisions are present",
            r"Target database is not up to date",
            r"Detected failed migration to version|FlywayValidateException",
            r"Validate failed: Migrations have failed validation|Migration checksum mismatch",
            r"Found more than one migration with version",
            r"SchemaManagementException|Schema-validation: (?:missing|wrong)",
            r"ActiveRecord::\w{0,40}Migration\w{0,40}Error|Multiple migrations have the (?:version number|name)",
            r"found \d+ missing migrations before|migration directory is corrupt",
            r"LiquibaseException|liquibase\.exception\.",
            r"\bP30(?:05|06|09|18)\b",
            r"Dirty database version \d+",
            r"(?:relation|column) \"?[\w.]+\"? does not exist|UndefinedTable|UndefinedColumn",
            r"no such (?:table|column): |table \S+ has no column named |Unknown column '|Table '[^']+' doesn't exist",
            r"PendingMigrationError|PendingModelChangesWarning|\bVersionM(?:ismatch|issing)\(\d+\)",
            r"DuplicateColumn\b|DuplicateTable\b|Duplicate column name '|duplicate column name: ",
            r"(?:relation|column|table) [\"'`]?[\w.]+[\"'`]? (?:of relation \"[\w.]+\" )?already exists",
        ),
        "The migrations do not fit the database: hold if this diff has migrations that ran, else merge or apply them.",
        YES,
    ),
    Signature(
        "missing_env",
        any_of(
            r"The SECRET_KEY setting must not be empty",
            r"Set the \w+ environment variable",
            r"Could not resolve placeholder '[^']+'",
            r"\bKeyError: '[A-Z][A-Z0-9_]{2,}'",
            r"KeyError\b.{0,40}key not found: \"[A-Z][A-Z0-9_]{2,}\"",
            r"key not found: \"[A-Z][A-Z0-9_]{2,}\"",
            r"\b[A-Z][A-Z0-9_]{2,} not found\. Declare it as envvar or define a default value",
            r"(?i:(?:missing|required|undefined|unset)\b.{0,40}\benv(?:ironment)?\b.{0,20}\bvar)",
            r"(?i:env(?:ironment)? (?:variable|var)s?\b.{0,80}\bnot (?:set|defined|found|provided))",
            r"(?i:env(?:ironment)? (?:variable|var)s?\b.{0,80}\b(?:missing|required|must be)\b)",
            r"(?i:env(?:ironment)? (?:variable|var)s?\b.{0,80}\b(?:undefined|unset|empty)\b)",
            r"\b[A-Z][A-Z0-9_]{3,}\b[\"'`]? (?:is|was) (?:not set|missing|undefined|required|not defined)",
            r"Missing `secret_key_base`",
            r"\b[A-Z][A-Z0-9_]{3,} must be set\b",
            r"unbound variable|parameter not set|parameter null or not set",
            r"\bsh: (?:line )?\d+: [A-Z][A-Z0-9_]+: ",
            r"(?i:(?:missing|required|undefined|unset) env(?:ironment)?(?: var\w*)?)[ :=]{1,3}\W?[A-Z][A-Z0-9_]{2,}",
            r"(?i:invalid env(?:ironment)? var(?:iable)?s?\b)",
            r"validation errors? for \w*(?:Settings|Config|Environment|Env)\b",
            r"EnvironmentVariableError|MissingEnvVarError|EnvVarError|required key [A-Z]\w+ missing value",
            r"MissingEnvVarsError|defined in \S{1,200} but are not present in the environment",
            r"MissingAppKeyException|No application encryption key has been specified",
            r"\bSRCFG00014\b|config property \S+ is required but it could not be found",  # SmallRye, Quarkus
            r"[Yy]ou (?:must|need to|have to) (?:specify|set|provide|define) (?:the )?[A-Z][A-Z0-9_]{3,}\b",
            r"ConnectionString property has not been initialized",
            r"cannot be null\. \(Parameter '\w*[cC]onnectionString'\)",
            r"\bEnvVar\(NotPresent\)|`Err` value: NotPresent$",  # Rust
        ),
        "An environment variable is missing: add it in all three places (secret, workflow, code) before relanding.",
        YES,
    ),
    Signature(
        "missing_module",
        any_of(
            r"ModuleNotFoundError: No module named",
            r"ImportError: (?:No module named|cannot import name|lib[\w.+-]+\.so|Couldn't import Django)",
            r"Error loading \w+ (?:or \w+ )?module",
            r"Could not import module \"|^Error: Could not import '|^\S*python[\d.]*: No module named ",
            r"^The module \S+ was not found",  # celery
            r"Cannot find (?:module|package) '",
            r"ERR_MODULE_NOT_FOUND",
            r"(?:java\.lang\.)?(?:ClassNotFoundException|NoClassDefFoundError)\b",
            r"Could not find or load main class",
            r"cannot load such file -- ",
            r"Bundler::GemNotFound|Could not find .{1,80} in (?:any of the sources|locally installed gems)",
            r"error while loading shared libraries",
            r"\bexec [^\s:]+: no such file or directory",
            r"Class [\"'][\w\\]+[\"'] not found",
            r"Failed opening required '[^']*vendor/",
            r"sh: \d+: (?:exec: )?[\w./-]+: not found|: command not found",
            r"^(?:/usr/bin/)?env: \W?[\w./-]+\W?: No such file or directory",
            r"exec: \"?[^\s\"]+\"?: (?:executable file not found|no such file or directory)",
            r"Failed to open stream: No such file or directory in .{0,120}autoload",
            r"ImportError: Module \"[^\"]{1,200}\" does not define a ",
            r"(?i:\b(?:no driver|is missing|not (?:found|installed))\b.{0,120}\binstall(?:ing)? (?:the )?\W?[@\w])",
            r"Please install \S{1,80} package manually|requires? \"?[\w.-]{1,80}\"? to be installed",
            r"[Pp]lease run [\"'`]prisma generate",
            r"^(?:Error: |\d+\. )?No module named '|spawnerr: can't find command",
            r"Could not load file or assembly '",
            r"Could not find a production build in the '",  # Next.js
        ),
        "A dependency is missing from the image: add it to the requirements and rebuild.",
        YES,
    ),
    Signature(
        "port_in_use",
        any_of(
            r"Connection in use: \(",
            r"EADDRINUSE",
            r"[Aa]ddress (?:already )?in use",
            r"java\.net\.BindException",
            r"[Pp]ort (?:\d{1,5} )?(?:is already in use|was already in use|is in use)",
            r"[Pp]ort is already allocated",
        ),
        "The port is taken, usually by the old container: stop it and start again.",
        NO,
    ),
    Signature(
        "out_of_memory",
        any_of(
            r"java\.lang\.OutOfMemoryError|\bOutOfMemoryError: ",
            r"JavaScript heap out of memory",
            r"Container killed due to memory usage",
            r"OOMKilled",
            r"[Oo]ut of memory: Kill",
            r"(?:Worker|Process).{0,60}was sent SIGKILL! Perhaps out of memory",
            r"^MemoryError\b",
            r"\bMemoryError$",
            r"fatal error: (?:runtime: )?out of memory|failed to reserve page summary memory",
            r"[Cc]annot allocate memory",
            r"Allowed memory size of \d+ bytes exhausted",
            r"NoMemoryError|std::bad_alloc",
            r"memory allocation of \d+ bytes failed|^Out of memory\.?$|System\.OutOfMemoryException",
            r"oom-kill:|WorkerLostError.{0,60}SIGKILL",
            r"\bline \d+:\s+\d+ Killed\b|^Killed$|^npm (?:ERR!|error) (?:code 137$|signal SIGKILL)",
        ),
        "The process ran out of memory: raise the memory limit, or look for what grew in this diff.",
        MAYBE,
    ),
    Signature(
        "architecture",
        any_of(
            r"[Ee]xec format error",
            r"does not match the (?:detected host|specified) platform",
            r"no matching manifest for linux/",
            r"image Manifest does not contain descriptor matching platform",
            r"cannot execute binary file",
            r"invalid ELF header|wrong ELF class|incompatible architecture",
            r"^qemu-\w+: Could not open|rosetta error: failed to open elf",
        ),
        "The image was built for another processor architecture: build it for the one that runs it.",
        YES,
    ),
    Signature(
        "disk_full",
        any_of(r"[Nn]o space left on device", r"\bENOSPC\b", r"[Dd]isk quota exceeded"),
        "The disk is full: prune images and logs on the host.",
        NO,
    ),
    Signature(
        "image_pull",
        any_of(
            r"ResourceInitializationError: unable to pull secrets",
            r"CannotPull(?:ECR)?ContainerError.{0,400}(?:AccessDenied|not authorized|denied|i/o timeout|no basic auth"
            r"|dial tcp|context deadline|request canceled|403|toomanyrequests|rate limit)",
            r"(?:pull access denied|no basic auth credentials|toomanyrequests:)",
            r"(?:Failed to pull image|ErrImagePull|ImagePullBackOff).{0,400}"
            r"(?:denied|[Uu]nauthorized|timeout|40[13]\b|dial tcp|failed to do request|no such host|refused)",
            r"unable to retrieve ecr registry auth",
            r"requested access to the resource is denied",
            r"Error response from daemon: (?:Get|Head) \W?https?://.{1,200}/v2/.{0,200}"
            r"(?:denied|[Uu]nauthorized|[Tt]imeout|canceled|refused|no such host)",
        ),
        "The image or a secret could not be pulled for want of rights or network: check ECR, the task role, the route.",
        NO,
    ),
    Signature(
        "image_pull",
        any_of(
            r"CannotPull(?:ECR)?ContainerError",
            r"manifest (?:for \S+ not found|unknown)",
            r"(?:Failed to pull image|ErrImagePull|ImagePullBackOff|InvalidImageName)",
            r"failed to resolve reference \"[^\"]{1,300}\": .{1,300}: not found",
        ),
        "The image could not be pulled: check that the tag was pushed to the registry.",
        YES,
    ),
    Signature(
        "host_check",
        any_of(
            r"Invalid HTTP_HOST header",
            r"\bDisallowedHost\b",
            r"Blocked hosts?: |Blocked request\. This host|^Invalid [Hh]ost header",
            r"ActionDispatch::HostAuthorization",
            r"Untrusted Host \"|\b[Hh]ost '[^']{1,200}' (?:does not match an allowed host|is not trusted)",
        ),
        "The application refuses the Host header of the health check: add the health-check host to the allowed ones.",
        MAYBE,
    ),
    Signature(
        "permission",
        any_of(
            r"exec: \"?[^\s\"]+\"?: [Pp]ermission denied|exec [^\s:]+ failed: Permission denied",
            r"exec [^\s:]+: permission denied",
            r"line \d+: [^\s:]*(?:/bin/[^\s:]+|\.(?:sh|py|js|rb)): Permission denied",
            r"exec: [^\s:]+: cannot execute: Permission denied|unable to exec(?:ute)? [^\s:]+: [Pp]ermission denied",
            r"(?:entrypoint|start|run|boot|cmd)[\w.-]*: [Pp]ermission denied",
            r"sh: \d+: [^\s:]+: Permission denied|spawnerr: command at .{1,200} is not executable",
        ),
        "The start script may not be executed (exit code 126): restore its executable bit.",
        YES,
    ),
    Signature(
        "permission",
        any_of(
            r"PermissionError: \[Errno 13\]",
            r"\bEACCES\b",
            r"AccessDeniedException: /",
            r"[Pp]ermission denied(?!.{0,40}publickey)",
        ),
        "A file or port may not be used by the container's user: check owner, mode and mounts.",
        MAYBE,
        certain=False,
    ),
    Signature(
        "syntax",
        any_of(
            r"^\s*SyntaxError: ",
            r"\b(?:IndentationError|TabError): ",
            r"\bSyntaxError: ",
            r"syntax error, unexpected",
            r"PHP Parse error:",
            r"[Ss]yntax error near unexpected token|[Ss]yntax error: unexpected end of file",
            r"sh: \d+: Syntax error:",
            r"\[emerg\] .{0,80}(?:unexpected (?:\"|end of file)|unknown directive|not terminated by)",
        ),
        "The code does not parse: add a boot check to CI.",
        YES,
    ),
    Signature(
        "django_setting",
        any_of(
            r"ImproperlyConfigured\b",
            r"settings are not configured",
            r"isn't in an application in INSTALLED_APPS",
            r"SystemCheckError: ",
            r"You must set settings\.[A-Z_]+",
            r"ValueError: Incorrect timezone setting: ",
        ),
        "A Django setting is missing or wrong in the image: set it before relanding.",
        YES,
    ),
)

WRAPPERS: Final = any_of(
    r"Worker failed to boot",
    r"HaltServer",
    r"Reason: (?:Worker|App) failed",
    r"App failed to load",
    r"Worker \(pid:\d+\) (?:exited with code [1-9]|was sent SIG(?:ABRT|SEGV|BUS|ILL|FPE))",
    r"Application (?:run failed|startup failed)|APPLICATION FAILED TO START",
    r"^npm (?:ERR!|error)|ELIFECYCLE|error Command failed",
    r"exited with code \[?[1-9]|exit(?:ed)? (?:status|code)[ :]+[1-9]|terminated with exit code [1-9]",
    r"stopped \(rc=-?[1-9]|\(exit status [1-9]; not expected\)|gave up: .{1,60} entered FATAL state",
    r"Main process exited, code=exited, status=[1-9]|Failed with result 'exit-code'",
    r"unable to load app 0 \(mountpoint=|no python application found|Error: Command failed",
    r"Process completed with exit code [1-9]|Back-off restarting failed container|CrashLoopBackOff",
    r"Essential container in task exited|Task failed (?:ELB|container) health checks",
    r"app crashed - waiting for file changes|no app loaded\. GAME OVER|had too many unstable restarts",
)
"""Lines that say that something failed and not what; the cause stands above them."""
