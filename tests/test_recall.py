"""What vector search finds of the nearest, under filters: the layouts of the graph, and measuring it.

Small vectors and a low bound for exact search stand for many points: a graph of thousands is asked
as one of millions would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as qe

from rag.types import Condition, Float32Array, Leg, Point, Scope, SparseVector
from retrieval import edge_points, qdrant_points
from retrieval.edge import EdgeIndex
from retrieval.recall import FIELDS, SAMPLE, Recall, measure
from tests.fakes import MemoryIndex, make_chunk

pytestmark = pytest.mark.anyio
