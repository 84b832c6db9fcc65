// Shared by the pages of all clients: selects picture and protocol, and lets a test move the view.
//
// A page sets `client` to an object with these functions. Coordinates are pixels from the top left corner of the picture, or of
// #stage, the element that shows it:
//   settled()      whether all visible tiles are loaded and drawn
//   goTo(x, y, z)  moves this point of the picture to the centre of the stage at z stage pixels per picture pixel
//   place(x, y)    the position on the stage of this point of the picture
let client;
const asked = new URLSearchParams(location.hash.slice(1));
const [id, source] = [asked.get('id'), asked.get('source')];
const [width, height, tileSize] = ['width', 'height', 'tile'].map(name => Number(asked.get(name)));

// base addresses by protocol
const address = {
  iip: `/fcgi-bin/iipsrv.fcgi?FIF=${id}`,
  iiif1: `/iiif/1/${id}`,
  iiif2: `/iiif/2/${id}`,
  iiif3: `/iiif/3/${id}`,
  deepzoom: `/deepzoom/${id}.dzi`,
  zoomify: `/zoomify/${id}/`,
  // output of `iipsrv export`
  static: `/static/${id}`,
}[source];
// the server's manifest, except for exported files
const manifest = location.origin + (source === 'static' ? address : `/iiif/${source.slice(4)}/${id}`) + '/manifest.json';

const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
const stage = () => ['width', 'height'].map(side => document.getElementById('stage').getBoundingClientRect()[side]);
const sides = () => [...client.place(0, 0), ...client.place(width, height)];

// the requested view
let aim;
function goTo(...to) {
  aim = to;
  client.goTo(...to);
}

// whether the client is at the view and all is drawn; moves it again if a late layout has reset it
function arrived() {
  if (!client.settled()) return false;
  const [x, y, z] = aim;
  const [here, right] = [client.place(x, y), client.place(x + 64 / z, y)];
  const there = stage().every((side, n) => Math.abs(here[n] - side / 2) < 1) && Math.abs(right[0] - here[0] - 64) < 1;
  if (!there) client.goTo(...aim);
  return there;
}

// the whole picture, centred, at the size of a level, aligned to pixels
function goToWhole() {
  const [w, h] = stage();
  let z = 1;
  while (width * z > w || height * z > h) z /= 2;
  const at = (side, seen) => (seen / 2 - Math.floor((seen - side * z) / 2)) / z;
  goTo(at(width, w), at(height, h), z);
}

// scale 1, with 90 pixels of the page to the right of and below the picture, which always covers the centre
function goToCorner() {
  const at = (side, seen) => Math.max(side + 90 - seen, -Math.trunc(seen / 2)) + seen / 2;
  const [w, h] = stage();
  goTo(at(width, w), at(height, h), 1);
}

// the functions of `client` for an OpenSeadragon viewer, on which most clients are based
function seadragon(viewer, stretches) {
  const item = () => viewer.world.getItemAt(0);
  // some bundles do not expose OpenSeadragon.Point
  const point = (x, y) => Object.assign(viewer.viewport.getCenter().clone(), { x, y });
  viewer.container.id = 'stage';
  return {
    settled() {
      // without a graphics card a frame for every tile is slow, and half a level is drawn without a filter
      Object.assign(item() ?? {}, { maxTilesPerFrame: 50, minPixelRatio: 0.9 });
      // versions that draw on a canvas stretch tiles without overlap by a pixel to hide seams
      if (stretches && item()) item().source.tileOverlap = 1e-9;
      // opening a picture starts an animation
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
