# SPDX-License-Identifier: Apache-2.0
"""The broker: joins patients, specialists and operators, and keeps the consult."""
