"""Read the environment, once and strictly, into Django's settings."""

import base64
import os
import re
import secrets
import shlex
import uuid
from datetime import date
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from o3site import datadir, localpg

BASE_DIR = Path(__file__).resolve().parent.parent
ROLES = ("web", "cluster", "shell")
KNOWN = {
    "PONDER_ALLOW_PRIVATE_ADDRESSES",
    "PONDER_AZURE_TOKEN_COMMAND",
    "PONDER_DATA_DIR",
    "PONDER_KEYS",
    "PONDER_LOG",
    "PONDER_LOG_LEVEL",
    "PONDER_MAIL",
    "PONDER_MAIL_FROM",
    "PONDER_METRICS_TOKEN",
    "PONDER_ROLE",
    "PONDER_TODAY",
    "PONDER_URL",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def environment(name: str) -> str:
    """Return an environment variable without surrounding blanks; an empty one counts as not set."""
    return os.environ.get(name, "").strip()


def secret(name: str, path: Path, make: str) -> str:
    """Return a secret from the environment, or on the bundled database the one kept in the data directory."""
    if environment(name):
        return environment(name)
    if DATABASE_URL:
        raise ImproperlyConfigured(f"{name} must be set in the environment when DATABASE_URL is.")
    return datadir.kept(path, lambda: make)


def fernet_keys(text: str) -> list[str]:
    """Return the keys in `text`, newest first."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    for key in keys:
        try:
            valid = len(base64.urlsafe_b64decode(key)) == 32
        except ValueError:
            valid = False
        if not valid:
            raise ImproperlyConfigured(
                "PONDER_KEYS must be Fernet keys (32 bytes in URL-safe base64) with commas between them."
            )
    return keys


def web_address(name: str, *, bare: bool) -> str:
    """Return a variable that holds an http or https address; `bare` allows nothing after the host."""
    value = environment(name).rstrip("/")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    else:
        valid = valid and not (parts.username or parts.password or parts.query or parts.fragment)
        valid = valid and not (bare and parts.path) and not re.search(r"\s", value)
    if not valid:
        example = "https://ponder.example.com" if bare else "https://api.openai.com/v1"
        raise ImproperlyConfigured(f"{name} must be an address such as {example}.")
    return value


def visible(name: str) -> str:
    """Return a variable that holds one word of visible ASCII, such as a key."""
    value = environment(name)
    if not re.fullmatch(r"[!-~]*", value):
        raise ImproperlyConfigured(f"{name} must not contain blanks or characters outside ASCII.")
    return value


def webhook_secrets(name: str) -> tuple[str, ...]:
    """Return a variable that holds Standard Webhooks secrets: the current one, and during a rotation both."""
    found = tuple(part for part in (part.strip() for part in environment(name).split(",")) if part)
    for value in found:
        try:
            valid = value.startswith("whsec_") and bool(base64.b64decode(value[6:], validate=True))
        except ValueError:
            valid = False
        if not valid:
            raise ImproperlyConfigured(
                f"{name} must be the secret that OpenAI shows, whsec_ and base64, or several with commas."
            )
    return found


def day(name: str) -> date | None:
    """Return a variable that holds a date, or None."""
    value = environment(name)
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a date such as 2026-11-30.") from None


def switch(name: str) -> bool:
    """Return a variable that is 1, or 0 as when it is not set."""
    value = environment(name) or "0"
    if value not in {"0", "1"}:
        raise ImproperlyConfigured(f"{name} must be 1 or 0.")
    return value == "1"


def choice(name: str, *words: str) -> str:
    """Return a variable that holds one of a few words, the first where it is not set."""
    value = environment(name) or words[0]
    if value not in words:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(words)}.")
    return value


def command(name: str) -> tuple[str, ...]:
    """Return the words of a command that is run without a shell; none when it is not set."""
    try:
        return tuple(shlex.split(environment(name)))
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a command; a quotation mark in it has no end.") from None


def mailer(name: str) -> dict[str, object]:
    """Return MAILERS["default"] for a variable that holds a mail server; mails are printed without one."""
    value = environment(name)
    if not value:
        return {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_server = parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.path in {"", "/"}
    if not is_server or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{name} must be smtp://USER:PASSWORD@HOST:587 or smtps://…:465.")
    options: dict[str, object] = {
        "host": parts.hostname,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        # Only the way to this very machine may go without TLS.
        "use_tls": parts.scheme == "smtp" and parts.hostname not in {"localhost", "127.0.0.1", "::1"},
        "use_ssl": parts.scheme == "smtps",
        "timeout": 10,
    }
    return {"OPTIONS": options if port is None else {**options, "port": port}}


# A network that is cut says nothing: a session over TCP is given up after half a minute, not two hours.
NOTICES_A_CUT: dict[str, object] = {
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}


def database(role: str) -> dict[str, object]:
    """Return DATABASES["default"] for a role: web pools, a cluster keeps its connections, a shell neither."""
    reach, options = database_address() if DATABASE_URL else (localpg.parameters(DATA_DIR), {})
    options = {"application_name": f"ponder-{role}", "connect_timeout": 5, **NOTICES_A_CUT, **options}
    found: dict[str, object] = {"ENGINE": "django.db.backends.postgresql", **reach, "OPTIONS": options}
    if role == "web":
        # Without the pool every idle thread of the server keeps a connection of its own.
        options["pool"] = {"min_size": 1, "max_size": 6, "timeout": 10}
        found["CONN_MAX_AGE"] = 0
    elif role == "cluster":
        # No pool: Django-Q forks. And with 0 every poll of its broker would make a new connection.
        found["CONN_MAX_AGE"] = None
        found["CONN_HEALTH_CHECKS"] = True
    else:
        found["CONN_MAX_AGE"] = 0
    return found


def database_address() -> tuple[dict[str, str], dict[str, object]]:
    """Split DATABASE_URL into Django's words and the driver's options."""
    try:
        parts = urlsplit(DATABASE_URL)
        port = str(parts.port or "")
        options: dict[str, object] = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise ImproperlyConfigured("DATABASE_URL cannot be read as an address.") from None
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in {"postgres", "postgresql"} or not name:
        raise ImproperlyConfigured(
            "DATABASE_URL must be postgresql://USER:PASSWORD@HOST/NAME: Ponder runs on PostgreSQL only."
        )
    reach = {
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # The query may name a socket's folder, as libpq's own addresses do.
        "HOST": str(options.pop("host", "")) or unquote(parts.hostname or ""),
        "PORT": str(options.pop("port", "")) or port,
    }
    return reach, options


unknown = sorted(name for name in os.environ if name.startswith("PONDER_") and name not in KNOWN)
if unknown:
    raise ImproperlyConfigured(f"{unknown[0]} is not a setting of Ponder: see .env.example.")

DATABASE_URL = environment("DATABASE_URL")
PONDER_ROLE = environment("PONDER_ROLE") or "shell"
if PONDER_ROLE not in ROLES:
    raise ImproperlyConfigured("PONDER_ROLE must be web, cluster or shell.")
PONDER_URL = web_address("PONDER_URL", bare=True)
PONDER_TODAY = day("PONDER_TODAY")
PONDER_ALLOW_PRIVATE_ADDRESSES = switch("PONDER_ALLOW_PRIVATE_ADDRESSES")
PONDER_AZURE_TOKEN_COMMAND = command("PONDER_AZURE_TOKEN_COMMAND")
IS_LOG_JSON = choice("PONDER_LOG", "plain", "json") == "json"
# At info there is a line for everything that happens to a job.
LOG_LEVEL = choice("PONDER_LOG_LEVEL", "warning", "info").upper()
PONDER_METRICS_TOKEN = visible("PONDER_METRICS_TOKEN")
if PONDER_METRICS_TOKEN and len(PONDER_METRICS_TOKEN) < 32:
    raise ImproperlyConfigured("PONDER_METRICS_TOKEN must be at least 32 random characters.")
MAILERS = {"default": mailer("PONDER_MAIL")}
IS_MAIL_SENT = bool(environment("PONDER_MAIL"))
DEFAULT_FROM_EMAIL = environment("PONDER_MAIL_FROM") or "ponder@localhost"
if IS_MAIL_SENT and not (PONDER_URL and environment("PONDER_MAIL_FROM")):
    raise ImproperlyConfigured("PONDER_MAIL needs PONDER_MAIL_FROM, and PONDER_URL for the links in mails.")
OPENAI_API_KEY = visible("OPENAI_API_KEY")
OPENAI_ADMIN_KEY = visible("OPENAI_ADMIN_KEY")
OPENAI_BASE_URL = web_address("OPENAI_BASE_URL", bare=False)
OPENAI_WEBHOOK_SECRETS = webhook_secrets("OPENAI_WEBHOOK_SECRET")

DATA_DIR = datadir.chosen()
try:
    datadir.prepare(DATA_DIR)
    SECRET_KEY = secret("SECRET_KEY", DATA_DIR / "keys" / "secret_key", secrets.token_urlsafe(64))
    new_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    PONDER_KEYS = fernet_keys(secret("PONDER_KEYS", DATA_DIR / "keys" / "ponder_keys", new_key))
    # Names this data directory among those that share a database: its journal and its claims.
    INSTANCE = datadir.kept(DATA_DIR / "instance", lambda: uuid.uuid4().hex)
    DATABASES = {"default": database(PONDER_ROLE)}
except OSError as error:
    raise ImproperlyConfigured(
        f"PONDER_DATA_DIR ({DATA_DIR}) cannot be used: {error.strerror} ({error.filename})."
    ) from None
if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5:
    raise ImproperlyConfigured("SECRET_KEY must be at least 50 random characters.")

JOURNAL_DIR = DATA_DIR / "journal"
# While this file exists the pumps claim nothing more and cut their polls short.
STOP_FILE = DATA_DIR / "run" / "stop"
# While this file exists the web server answers 503: it has started before the records are what it knows.
CLOSED_FILE = DATA_DIR / "run" / "closed"
# Touched by a worker every few seconds; and whenever the workers find that the database does not answer them.
BEAT_FILE = DATA_DIR / "run" / "beat"
OUTAGE_FILE = DATA_DIR / "run" / "outage"
# While this file exists practice needs our sandbox.
PRACTICE_FILE = DATA_DIR / "run" / "practice"
# While this file exists a restore has begun and is not done: nothing starts.
RESTORING_FILE = DATA_DIR / "restoring"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "whitenoise",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_q",
    "o3site",
    "jobs",
]
AUTH_USER_MODEL = "jobs.User"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = LOGIN_URL

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "o3site.static.StaticFiles",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "o3site.urls"
ASGI_APPLICATION = "o3site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "jobs.views.frame.frame",
            ],
        },
    },
]

# Django's own error pages print local variables, and with them prompts and keys.
DEBUG = False
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
public = urlsplit(PONDER_URL)
IS_HTTPS = public.scheme == "https"
# Loopback stays allowed beside the public name: health checks ask from the machine itself.
public_host = public.hostname or ""
ALLOWED_HOSTS = sorted({*LOOPBACK, f"[{public_host}]" if ":" in public_host else public_host} - {""})
CSRF_TRUSTED_ORIGINS = [PONDER_URL] if PONDER_URL else []
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if IS_HTTPS else 0
SILENCED_SYSTEM_CHECKS = [
    "auth.E003",  # e-mail is unique whatever its case, by a constraint that this check cannot read
    "mail.E001",  # without PONDER_MAIL mails are printed where Ponder runs, for whoever runs it
    "security.W005",  # HSTS for subdomains: they are not Ponder's to decide about
    "security.W008",  # the proxy that ends TLS redirects; behind it every request arrives as plain http
    "security.W021",  # HSTS preload: likewise the domain owner's decision
]

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_ALLOW_ALL_ORIGINS = False
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# A prompt of a whole context window, as a form sends it; Django's own limit is 2.5 MB.
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CLUSTER_NAME = "ponder"
Q_CLUSTER = {
    "name": CLUSTER_NAME,
    "label": "Tasks",
    "orm": "default",
    "broker_class": "o3site.beat.Broker",
    # One for each pump and one for all else, which must be short: the supervisor's beat waits for it, and
    # kills a cluster that is silent for 30 s.
    "workers": 3,
    "queue_limit": 3,
    "timeout": 90,
    "retry": 120,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "poll": 0.2,
    "recycle": 100_000,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "()": "o3site.logs.Formatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "o3site.logs.JsonFormatter", "instance": INSTANCE},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "json" if IS_LOG_JSON else "plain"}
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Ours alone: what libraries say at INFO names addresses.
        "jobs": {"level": LOG_LEVEL},
        "o3site": {"level": LOG_LEVEL},
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "django.request": {"level": "ERROR"},
        # Refused with 400; a line for each would let anybody fill the log.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # Named here because Django-Q installs a handler of its own, at INFO, where it finds none.
        "django-q": {"handlers": ["console"], "level": "WARNING", "propagate": False},
    },
}
