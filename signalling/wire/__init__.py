# SPDX-License-Identifier: Apache-2.0
"""Every message on the WebSocket, its limits and its error codes; a leaf."""
