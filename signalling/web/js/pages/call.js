// SPDX-License-Identifier: Apache-2.0
// What the patient's page needs for a call: fetched by itself, while the person reads, joins and answers.

import {Endpoints} from "../endpoints.js";
import {Media} from "./patient_media.js";

export const parts = {Endpoints, Media};
