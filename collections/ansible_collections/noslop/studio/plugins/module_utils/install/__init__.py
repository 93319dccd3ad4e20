# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build and install program trees and their packages.

Owns release directories and builds. Builds run as the build account; what is installed belongs to root.
"""
