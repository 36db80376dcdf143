"""The product's own settings in an environment of the tests' own: no real key, no real data directory."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

for name in [name for name in os.environ if name.startswith(("OPENAI_", "PONDER_"))]:
    if name != "PONDER_TODAY":  # the suite is run as of other dates through it
        del os.environ[name]
for name in ("DATABASE_URL", "SECRET_KEY"):
    os.environ.pop(name, None)
home = tempfile.mkdtemp(prefix="ponder-tests-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
# The bundled database runs as another user under root and must pass through.
os.chmod(home, 0o711)
os.environ["PONDER_DATA_DIR"] = f"{home}/var"
if sys.dont_write_bytecode:
    # Nothing compiled is wanted beside the sources. But each of the hundred processes that a run starts
    # would compile all it imports, which takes longer than what is asked of it.
    sys.dont_write_bytecode = False
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(
        Path(__file__).resolve().parents[1] / ".pytest_cache" / "compiled"
    )
# What the tests start are real processes with the real settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "o3site.settings"

from o3site.settings import *  # noqa: E402, F403

# Hashing for real costs half a second for each person a test makes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Templates are rendered without a collected static folder; one test looks at the real server's names.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
WHITENOISE_AUTOREFRESH = True
