# SPDX-License-Identifier: Apache-2.0
"""Typed keys of the aiohttp application."""

from __future__ import annotations

from aiohttp import web

from signalling.config import Config
from signalling.edge.consults import Consults
from signalling.edge.gate import Gate
from signalling.edge.house import House
from signalling.edge.ledger import Ledger
from signalling.metrics import Metrics

CONFIG = web.AppKey("config", Config)
CONSULTS = web.AppKey("consults", Consults)
GATE = web.AppKey("gate", Gate)
HOUSE = web.AppKey("house", House)
LEDGER = web.AppKey("ledger", Ledger)
METRICS = web.AppKey("metrics", Metrics)
