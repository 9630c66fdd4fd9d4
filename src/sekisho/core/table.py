"""The table of settings. Flags, documents and messages are made from it, in this order."""

from __future__ import annotations

from .spec import Spec
from .table_engine import ENGINE
from .table_models import MODELS
from .table_record import RECORD
from .table_server import SERVER

TABLE: tuple[Spec, ...] = ENGINE + SERVER + MODELS + RECORD
