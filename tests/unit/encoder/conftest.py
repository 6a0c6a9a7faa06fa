"""Assertions of a shared behaviour suite explain themselves as those of a test module do."""

import pytest

pytest.register_assert_rewrite("tests.unit.encoder.vision_behaviour", "tests.unit.encoder.seer_behaviour")
