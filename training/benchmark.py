"""Recipes beside one another: each is trained and measured with several seeds, and one table tells mean and spread.

Run it as `kerasxai benchmark ...` or `python -m kerasxai.training.benchmark ...`.
"""

import argparse
import importlib.metadata
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasxai import data, viz
from kerasxai.core.commands import command_line, run_module
from kerasxai.core.errors import KerasxaiError
from kerasxai.core.files import atomic_path
from kerasxai.methods import METHODS
from kerasxai.metrics import MaxBoxAccV2
from kerasxai.metrics.evaluation import centered_gaussian
from kerasxai.training import benchmark_options
from kerasxai.training.benchmark_pictures import contact_sheet, examples, threshold_plot
from kerasxai.training.benchmark_tables import csv_table, differences, figures_of, markdown_table, summarize, table_of
from kerasxai.training.config import TrainConfig
from kerasxai.training.options import config_of
from kerasxai.training.recipes import recipe_of
from kerasxai.training.stages import evaluated, write_json
from kerasxai.training.train import image_size, train
