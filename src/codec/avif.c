/* One AVIF picture by libavif. In C, because the library's structures differ between its versions and its functions do
 * not say everything. Knows no file and no errors but success. */

#include <avif/avif.h>
#include <stdlib.h>
#include <string.h>

/* Writes w * h pixels of 1 (grey), 3 (RGB) or 4 (RGBA) bytes; quality 0 to 100, below 0 without loss. Profile, EXIF (from
 * its TIFF header on) and XMP may be empty. Returns 1 and memory for iipsrv_avif_free, or 0 and nothing. */
int iipsrv_avif_encode(const uint8_t *pixels, uint32_t w, uint32_t h, uint32_t channels, int quality, int speed,
                       const uint8_t *icc, size_t icc_len, const uint8_t *exif, size_t exif_len, const uint8_t *xmp,
                       size_t xmp_len, uint8_t **file, size_t *len)
{
    const int lossless = quality < 0;
    const int grey = channels == 1;
    const avifPixelFormat format = grey ? AVIF_PIXEL_FORMAT_YUV400
                                        : lossless ? AVIF_PIXEL_FORMAT_YUV444 : AVIF_PIXEL_FORMAT_YUV420;
    avifRWData out = AVIF_DATA_EMPTY;
    avifResult result = AVIF_RESULT_UNKNOWN_ERROR;
    avifImage *image = avifImageCreate(w, h, 8, format);
    avifEncoder *encoder = avifEncoderCreate();
    if (image == NULL || encoder == NULL)
        goto done;
    image->yuvRange = AVIF_RANGE_FULL;
    image->matrixCoefficients =
        lossless && !grey ? AVIF_MATRIX_COEFFICIENTS_IDENTITY : AVIF_MATRIX_COEFFICIENTS_BT601;
    if (icc_len > 0) {
        avifImageSetProfileICC(image, icc, icc_len);
    } else {
        image->colorPrimaries = AVIF_COLOR_PRIMARIES_BT709;
        image->transferCharacteristics = AVIF_TRANSFER_CHARACTERISTICS_SRGB;
    }
    if (exif_len > 0)
        avifImageSetMetadataExif(image, exif, exif_len);
    if (xmp_len > 0)
        avifImageSetMetadataXMP(image, xmp, xmp_len);

    if (grey) {
        avifImageAllocatePlanes(image, AVIF_PLANES_YUV);
        if (image->yuvPlanes[AVIF_CHAN_Y] == NULL)
            goto done;
        for (uint32_t y = 0; y < h; y++)
            memcpy(image->yuvPlanes[AVIF_CHAN_Y] + (size_t)y * image->yuvRowBytes[AVIF_CHAN_Y],
                   pixels + (size_t)y * w, w);
    } else {
        avifRGBImage rgb;
        memset(&rgb, 0, sizeof rgb);
        avifRGBImageSetDefaults(&rgb, image);
        rgb.format = channels == 4 ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
        rgb.depth = 8;
        rgb.pixels = (uint8_t *)pixels;
        rgb.rowBytes = w * channels;
        if (avifImageRGBToYUV(image, &rgb) != AVIF_RESULT_OK)
            goto done;
    }

    /* the same bytes whatever the machine */
    encoder->maxThreads = 1;
    encoder->speed = speed;
#if AVIF_VERSION_MAJOR >= 1
    encoder->quality = lossless ? 100 : quality;
    encoder->qualityAlpha = 100;
#else
    encoder->minQuantizer = encoder->maxQuantizer = lossless ? 0 : ((100 - quality) * 63 + 50) / 100;
    encoder->minQuantizerAlpha = encoder->maxQuantizerAlpha = 0;
#endif
    result = avifEncoderWrite(encoder, image, &out);

done:
    if (encoder != NULL)
        avifEncoderDestroy(encoder);
    if (image != NULL)
        avifImageDestroy(image);
    if (result != AVIF_RESULT_OK) {
        avifRWDataFree(&out);
        return 0;
    }
    *file = out.data;
    *len = out.size;
    return 1;
}

/* Gives back what iipsrv_avif_encode made. */
void iipsrv_avif_free(uint8_t *file)
{
    avifRWData data = {file, 0};
    avifRWDataFree(&data);
}
