// What the pages of all clients have in common: which picture through which protocol, and how a test looks at it.
//
// A page gives `client`, when it is there, these functions. Places are pixels of the picture, from its left top corner, and
// of #stage, the element that shows it:
//   settled()      whether all that is seen has arrived and is drawn
//   goTo(x, y, z)  that place of the picture to the middle of the stage, z pixels of the stage each
//   place(x, y)    where on the stage that place of the picture is
let client;
const asked = new URLSearchParams(location.hash.slice(1));
const [id, source] = [asked.get('id'), asked.get('source')];
const [width, height, tileSize] = ['width', 'height', 'tile'].map(name => Number(asked.get(name)));

// where a protocol's descriptions and pictures are
const address = {
  iip: `/fcgi-bin/iipsrv.fcgi?FIF=${id}`,
  iiif1: `/iiif/1/${id}`,
  iiif2: `/iiif/2/${id}`,
  iiif3: `/iiif/3/${id}`,
  deepzoom: `/deepzoom/${id}.dzi`,
  zoomify: `/zoomify/${id}/`,
  // files that `iipsrv export` wrote
  static: `/static/${id}`,
}[source];
// the server's own, but of files
const manifest = location.origin + (source === 'static' ? address : `/iiif/${source.slice(4)}/${id}`) + '/manifest.json';

const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
const stage = () => ['width', 'height'].map(side => document.getElementById('stage').getBoundingClientRect()[side]);
const sides = () => [...client.place(0, 0), ...client.place(width, height)];

// where the client was sent
let aim;
function goTo(...to) {
  aim = to;
  client.goTo(...to);
}

// whether it is there, and all is drawn; one that went home meanwhile, because its page was laid out late, is sent again
function arrived() {
  if (!client.settled()) return false;
  const [x, y, z] = aim;
  const [here, right] = [client.place(x, y), client.place(x + 64 / z, y)];
  const there = stage().every((side, n) => Math.abs(here[n] - side / 2) < 1) && Math.abs(right[0] - here[0] - 64) < 1;
  if (!there) client.goTo(...aim);
  return there;
}

// all of the picture in the middle of the stage, at the size of a level, from a pixel on
function goToWhole() {
  const [w, h] = stage();
  let z = 1;
  while (width * z > w || height * z > h) z /= 2;
  const at = (side, seen) => (seen / 2 - Math.floor((seen - side * z) / 2)) / z;
  goTo(at(width, w), at(height, h), z);
}

// pixel on pixel, with 90 pixels of the page right and below of the picture, some of which is always in the middle
function goToCorner() {
  const at = (side, seen) => Math.max(side + 90 - seen, -Math.trunc(seen / 2)) + seen / 2;
  const [w, h] = stage();
  goTo(at(width, w), at(height, h), 1);
}

// the functions of `client` for a viewer of OpenSeadragon, which most clients are made of
function seadragon(viewer, stretches) {
  const item = () => viewer.world.getItemAt(0);
  // some of the bundles keep OpenSeadragon.Point to themselves
  const point = (x, y) => Object.assign(viewer.viewport.getCenter().clone(), { x, y });
  viewer.container.id = 'stage';
  return {
    settled() {
      // a frame for every tile takes long without a graphics card, and half a level is drawn without a filter
      Object.assign(item() ?? {}, { maxTilesPerFrame: 50, minPixelRatio: 0.9 });
      // versions that draw on a canvas stretch tiles that do not overlap by a pixel, to hide seams
      if (stretches && item()) item().source.tileOverlap = 1e-9;
      // it flies to where it opens a picture
      const [[zoom, centre], [zoomTo, centreTo]] =
        [true, false].map(now => [viewer.viewport.getZoom(now), viewer.viewport.getCenter(now)]);
      return item()?.getFullyLoaded() && zoom === zoomTo && centre.equals(centreTo);
    },
    goTo(x, y, z) {
      viewer.viewport.zoomTo(item().imageToViewportZoom(z), null, true);
      viewer.viewport.panTo(item().imageToViewportCoordinates(x, y), true);
    },
    place(x, y) {
      const { x: left, y: top } = item().imageToViewerElementCoordinates(point(x, y));
      return [left, top];
    },
  };
}
