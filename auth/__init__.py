# SPDX-License-Identifier: Apache-2.0
"""Identity and permission: roles, tokens, keys, invitations. A leaf without I/O."""
