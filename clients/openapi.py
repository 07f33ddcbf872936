"""Prints the OpenAPI document of the REST API, as a service with default settings has it."""

import json
import sys

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.settings.tree import Settings

sys.stdout.write(json.dumps(app_without_lifespan(Settings(), Running()).openapi()))
