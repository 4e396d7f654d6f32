# SPDX-License-Identifier: Apache-2.0
"""Media on thin links: what is measured, what is decided, and the relay."""
