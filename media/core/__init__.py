# SPDX-License-Identifier: Apache-2.0
"""What is known about a link and what to send on it, without I/O."""
