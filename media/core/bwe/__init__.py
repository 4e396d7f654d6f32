# SPDX-License-Identifier: Apache-2.0
"""What is known about a link: how much it carries, how long its queue is, what it loses."""
