# SPDX-License-Identifier: Apache-2.0
"""The pages that browsers are served: templates, scripts, styles, catalogues."""
