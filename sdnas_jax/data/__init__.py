"""From a source of images to arrays on the device."""
