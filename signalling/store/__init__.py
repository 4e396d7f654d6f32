# SPDX-License-Identifier: Apache-2.0
"""One contract for durable facts, and the implementations of it."""
