"""Daemons on one Valkey: each other's entries, one secret, what doctor and the log say."""
import json

import pytest
from chat import ask_raw
from daemon import run_cli
from valkey import Server
